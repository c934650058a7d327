package ai.onnxruntime;

public enum OnnxJavaType {
    FLOAT,
    INT64,
    FLOAT16
}
