package ai.onnxruntime.genai;

public final class GenAIException extends Exception {}
