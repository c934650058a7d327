package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;

/** Assets are the files of some folders, as Gradle merges them from the modules of a project. */
public final class AssetManager {
    private final File[] folders;

    public AssetManager(File... folders) {
        this.folders = folders;
    }

    public InputStream open(String fileName) throws IOException {
        for (File folder : folders) {
            File file = new File(folder, fileName);
            if (file.isFile()) {
                return new FileInputStream(file);
            }
        }
        throw new java.io.FileNotFoundException(fileName);
    }
}
