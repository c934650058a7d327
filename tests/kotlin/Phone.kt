// Prepares a packed bundle as an app on a phone does: Phone.kt VALUE FILES ASSETS [PLAY]. PLAY has a folder for each pack.
import android.content.Context
import android.content.res.AssetManager
import java.io.File
import kogata.BundleException
import kotlinx.coroutines.runBlocking

class Phone(private val files: File, private val assets: AssetManager) : Context() {
    override fun getFilesDir() = files

    override fun getAssets() = assets
}

fun main(args: Array<String>) = runBlocking {
    val model = if (args[0] == "whole") kogata.wholeModel else kogata.splitModel
    val folders = args[2].split(":").map(::File).toTypedArray()
    try {
        val phone = Phone(File(args[1]), AssetManager(*folders))
        println(model.prepare(phone) { pack -> args.getOrNull(3)?.let { File(it, pack) }?.takeIf(File::isDirectory)?.path }.path)
    } catch (problem: BundleException) {
        println("refused: ${problem.message}")
    }
}
