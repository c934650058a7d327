package ai.onnxruntime.genai;

public final class Sequences implements AutoCloseable {
    public int[] getSequence(long sequenceIndex) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
