package ai.onnxruntime;

public class NodeInfo {
    public String getName() {
        throw new UnsupportedOperationException();
    }

    public ValueInfo getInfo() {
        throw new UnsupportedOperationException();
    }
}
