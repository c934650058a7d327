package ai.onnxruntime.genai;

public class Tokenizer implements AutoCloseable {
    public Tokenizer(Model model) throws GenAIException {}

    public Sequences encode(String string) throws GenAIException {
        throw new UnsupportedOperationException();
    }

    public String applyChatTemplate(String templateStr, String messages, String tools, boolean addGenerationPrompt)
            throws GenAIException {
        throw new UnsupportedOperationException();
    }

    public TokenizerStream createStream() throws GenAIException {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
