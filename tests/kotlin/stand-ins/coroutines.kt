// What `Kogata.kt` uses of kotlinx.coroutines, run where it is called.
@file:JvmName("StandIns")

package kotlinx.coroutines

import kotlin.coroutines.Continuation
import kotlin.coroutines.CoroutineContext
import kotlin.coroutines.EmptyCoroutineContext
import kotlin.coroutines.startCoroutine

object Dispatchers {
    val IO: CoroutineContext = EmptyCoroutineContext
    val Default: CoroutineContext = EmptyCoroutineContext
}

suspend fun currentCoroutineContext(): CoroutineContext = EmptyCoroutineContext

fun CoroutineContext.ensureActive() {}

@Suppress("UNUSED_PARAMETER")
suspend fun <T> withContext(context: CoroutineContext, block: suspend () -> T): T = block()

fun <T> runBlocking(block: suspend () -> T): T {
    var result: Result<T>? = null
    block.startCoroutine(Continuation(EmptyCoroutineContext) { result = it })
    return result!!.getOrThrow()
}
