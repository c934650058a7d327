package ai.onnxruntime.genai;

public final class Generator implements AutoCloseable {
    public Generator(Model model, GeneratorParams generatorParams) throws GenAIException {}

    public boolean isDone() {
        throw new UnsupportedOperationException();
    }

    public void appendTokenSequences(Sequences sequences) throws GenAIException {}

    public long tokenCount() throws GenAIException {
        throw new UnsupportedOperationException();
    }

    public void generateNextToken() throws GenAIException {}

    public int getLastTokenInSequence(long sequenceIndex) throws GenAIException {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
