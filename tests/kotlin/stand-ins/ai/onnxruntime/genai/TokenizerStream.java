package ai.onnxruntime.genai;

public class TokenizerStream implements AutoCloseable {
    public String decode(int token) throws GenAIException {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
