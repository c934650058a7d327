// Written by `kogata pack`: verifies, opens and runs a bundle in an Android app. Copy both .kt files into the app.
//
// The app's dependencies:
//   com.microsoft.onnxruntime:onnxruntime-android      1.23 or newer, minSdk 24, MIT licence
//   onnxruntime-genai-android, an AAR of the releases  0.18, which needs onnxruntime 1.31 or newer, minSdk 24,
//     of github.com/microsoft/onnxruntime-genai        MIT licence; without it, delete the class TextModel
//   org.jetbrains.kotlinx:kotlinx-coroutines-android   1.10, Apache-2.0 licence
package kogata

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OnnxTensorLike
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import ai.onnxruntime.genai.Generator
import ai.onnxruntime.genai.GeneratorParams
import ai.onnxruntime.genai.Model
import ai.onnxruntime.genai.Tokenizer
import android.content.Context
import android.system.Os
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.LongBuffer
import java.security.MessageDigest
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.withContext

/** Says what is wrong with a bundle, for a developer. */
class BundleException(message: String) : IOException(message)

/**
 * One file of the bundle. [parts] are its places in the assets, each `PACK/PATH`. A file that was too large for one AI
 * pack has several: one after another, they are the file.
 */
class PackedFile(val path: String, val parts: List<String>)

/**
 * A packed bundle. The other .kt file has the values of yours.
 *
 * [sumsSha256] is the hash of SHA256SUMS, which has the hash of every other file. [models] has the .onnx file of every
 * component; the only one is called "model". [context] is the longest sequence in tokens, null without a limit.
 */
class PackedModel(
    val name: String,
    val packs: List<String>,
    val context: Int?,
    val sumsSha256: String,
    val models: Map<String, String>,
    val files: List<PackedFile>,
) {
    /**
     * Returns the bundle's folder. The first call for a version of the bundle reads and verifies every byte.
     *
     * [packFolder] says where Google Play has put a pack of fast-follow or on-demand delivery:
     * `{ AiPackManagerFactory.getInstance(app).getPackLocation(it)?.assetsPath() }`. Leave it out for packs that are
     * delivered at install time and for plain assets. Runtimes open files, not assets. So the bundle is copied to the
     * app's own files, unless it lies in a single folder of Google Play's already. Call this from one place at a time.
     */
    suspend fun prepare(
        app: Context,
        packFolder: (pack: String) -> String? = { null },
    ): File = withContext(Dispatchers.IO) {
        val home = File(app.filesDir, "kogata")
        val single = packs.singleOrNull()?.takeIf { files.all { file -> file.parts.size == 1 } }
        val there = single?.let { pack -> packFolder(pack)?.let { File(it, pack) } }
        val copy = File(home, packs.first())
        val folder = there ?: copy
        val mark = File(home, "${packs.first()}.verified")
        val verified = "$sumsSha256 ${folder.path}"
        if (!folder.isDirectory || !mark.isFile || mark.readText() != verified) {
            mark.delete()
            val open = { part: String ->
                packFolder(part.substringBefore('/'))?.let { File(it, part).inputStream() } ?: app.assets.open(part)
            }
            if (there != null) verify(open) else install(copy, open)
            if (there != null) copy.deleteRecursively() // of a version that was delivered in another way
            home.mkdirs()
            mark.writeText(verified)
        }
        folder
    }

    /** Copies the bundle to [folder], which is then complete and verified, or unchanged. */
    suspend fun install(folder: File, open: (part: String) -> InputStream) {
        val fresh = File(folder.path + ".new")
        try {
            fresh.deleteRecursively()
            verify(open, fresh)
            folder.deleteRecursively()
            if (!fresh.renameTo(folder)) throw BundleException("$name can't be written to $folder")
        } finally {
            fresh.deleteRecursively()
        }
    }

    /** Compares every file with its hash, and writes it to [copy] on the way where that is given. */
    suspend fun verify(open: (part: String) -> InputStream, copy: File? = null) {
        val list = files.single { it.path == "SHA256SUMS" }
        try {
            if (hash(list, open, copy) != sumsSha256) throw BundleException("$name: SHA256SUMS was changed")
            val text = list.parts.joinToString("") { part -> open(part).use { it.readBytes().decodeToString() } }
            val sums = text.lines().filter { it.length > 66 }.associate { it.substring(66) to it.substring(0, 64) }
            for (file in files - list) {
                if (hash(file, open, copy) != sums[file.path]) throw BundleException("$name: ${file.path} was changed")
            }
        } catch (missing: FileNotFoundException) {
            val reason = "The pack isn't downloaded yet, or Google Play doesn't deliver it to this device"
            throw BundleException("$name: ${missing.message} is missing. $reason")
        }
    }

    private suspend fun hash(file: PackedFile, open: (part: String) -> InputStream, copy: File?): String {
        val digest = MessageDigest.getInstance("SHA-256")
        val target = copy?.let { File(it, file.path) }
        target?.parentFile?.mkdirs()
        target?.outputStream().use { out ->
            val block = ByteArray(1 shl 20)
            for (part in file.parts) open(part).use { input ->
                while (true) {
                    currentCoroutineContext().ensureActive()
                    val count = input.read(block)
                    if (count < 0) break
                    digest.update(block, 0, count)
                    out?.write(block, 0, count)
                }
            }
        }
        return digest.digest().joinToString("") { "%02x".format(it) }
    }
}

/**
 * Keeps onnxruntime (1.29 and newer) and onnxruntime-genai from collecting usage data and sending it to Microsoft. It
 * has an effect only before either library is loaded. The classes below call it, but a provider in Microsoft's AARs loads
 * the library when the app starts. The README.md of the packed bundle says how to take it out; where it must stay,
 * call this in `Application.attachBaseContext`.
 */
fun disableTelemetry() = Os.setenv("ORT_DISABLE_TELEMETRY", "1", true)

/** A decoder in onnxruntime-genai, which has tokenizer, sampling and key-value cache. Close it after its flows. */
class TextModel(bundle: File, private val packed: PackedModel) : AutoCloseable {
    private val folder = File(bundle, packed.models.getValue("model")).parentFile!!
    private val model: Model
    private val tokenizer: Tokenizer

    init {
        if (!File(folder, "genai_config.json").isFile) {
            throw BundleException("${packed.name} isn't a decoder that onnxruntime-genai runs: use OnnxModel")
        }
        disableTelemetry()
        model = Model(folder.path)
        tokenizer = Tokenizer(model)
    }

    /** [messages] as the prompt of a chat model. They are JSON: `[{"role": "user", "content": "…"}]`. */
    fun chat(messages: String): String {
        val template = File(folder, "chat_template.jinja")
        if (!template.isFile) throw BundleException("${packed.name} has no chat template")
        return tokenizer.applyChatTemplate(template.readText(), messages, null, true)
    }

    /**
     * The answer to [prompt], piece by piece. When the collector is cancelled, it ends after at most one more token.
     *
     * [options] are those of onnxruntime-genai's search, such as `"temperature" to 0.7`; sampling also needs [sample].
     */
    fun generate(
        prompt: String,
        maxTokens: Int = 256,
        sample: Boolean = false,
        options: Map<String, Double> = emptyMap(),
    ): Flow<String> = flow {
        tokenizer.encode(prompt).use { tokens ->
            GeneratorParams(model).use { params ->
                val longest = tokens.getSequence(0).size + maxTokens
                params.setSearchOption("max_length", minOf(longest, packed.context ?: longest).toDouble())
                params.setSearchOption("do_sample", sample)
                for ((option, value) in options) params.setSearchOption(option, value)
                Generator(model, params).use { generator ->
                    generator.appendTokenSequences(tokens)
                    tokenizer.createStream().use { text ->
                        while (!generator.isDone) {
                            currentCoroutineContext().ensureActive()
                            val before = generator.tokenCount()
                            generator.generateNextToken() // the end token ends the loop and isn't appended
                            if (generator.tokenCount() > before) emit(text.decode(generator.getLastTokenInSequence(0)))
                        }
                    }
                }
            }
        }
    }.flowOn(Dispatchers.Default)

    override fun close() {
        tokenizer.close()
        model.close()
    }
}

/** One .onnx file in onnxruntime alone: encoders, and decoders with greedy search. Close it after its flows. */
class OnnxModel(bundle: File, packed: PackedModel, component: String = "model") : AutoCloseable {
    private val environment: OrtEnvironment
    private val session: OrtSession

    init {
        disableTelemetry()
        environment = OrtEnvironment.getEnvironment()
        val file = File(bundle, packed.models.getValue(component))
        session = environment.createSession(file.path, OrtSession.SessionOptions())
    }

    /** Every output of an encoder for one text, as numbers in the order of the output's axes. */
    fun run(ids: LongArray): Map<String, FloatArray> = step(ids, 0, null).use { result ->
        result.associate { (output, value) -> output to floats(value as OnnxTensor) }
    }

    /** The most probable tokens after [prompt], one by one, until one of [end] or until the collector is cancelled. */
    fun generate(prompt: LongArray, end: Set<Long>, maxTokens: Int = 256): Flow<Long> = flow {
        var ids = prompt
        var past = 0
        var last: OrtSession.Result? = null
        try {
            repeat(maxTokens) {
                currentCoroutineContext().ensureActive()
                val result = step(ids, past, last)
                last?.close() // its key-value cache was an input of this step
                last = result
                val logits = result.get("logits").get() as OnnxTensor
                val scores = floats(logits)
                val first = scores.size - logits.info.shape.last().toInt()
                val token = (first until scores.size).maxBy { scores[it] } - first
                if (token.toLong() in end) return@flow
                emit(token.toLong())
                past += ids.size
                ids = longArrayOf(token.toLong())
            }
        } finally {
            last?.close()
        }
    }.flowOn(Dispatchers.Default)

    /** One run over [ids], after [past] tokens whose keys and values are outputs of [last]. */
    private fun step(ids: LongArray, past: Int, last: OrtSession.Result?): OrtSession.Result {
        val made = ArrayList<OnnxTensor>()
        fun tensor(values: LongArray): OnnxTensor {
            val shape = longArrayOf(1, values.size.toLong())
            return OnnxTensor.createTensor(environment, LongBuffer.wrap(values), shape).also(made::add)
        }
        fun empty(info: TensorInfo): OnnxTensor {
            val shape = LongArray(info.shape.size) { axis -> if (axis == 0) 1 else maxOf(info.shape[axis], 0) }
            return OnnxTensor.createTensor(environment, ByteBuffer.allocateDirect(0), shape, info.type).also(made::add)
        }
        try {
            val feeds = HashMap<String, OnnxTensorLike>()
            for ((name, node) in session.inputInfo) feeds[name] = when {
                name == "input_ids" -> tensor(ids)
                name == "attention_mask" -> tensor(LongArray(past + ids.size) { 1 })
                name == "position_ids" -> tensor(LongArray(ids.size) { past + it.toLong() })
                name == "token_type_ids" -> tensor(LongArray(ids.size))
                !name.startsWith("past_key_values.") -> throw BundleException("OnnxModel can't fill the input $name")
                last == null -> empty(node.info as TensorInfo)
                else -> last.get(name.replace("past_key_values.", "present.")).get() as OnnxTensor
            }
            return session.run(feeds)
        } finally {
            made.forEach(OnnxTensor::close)
        }
    }

    private fun floats(tensor: OnnxTensor): FloatArray {
        val values = tensor.floatBuffer ?: throw BundleException("OnnxModel reads only floating-point outputs")
        return FloatArray(values.remaining()).also(values::get)
    }

    override fun close() = session.close()
}
