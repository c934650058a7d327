// What `Kogata.kt` uses of kotlinx.coroutines.flow, run where it is called.
package kotlinx.coroutines.flow

import kotlin.coroutines.CoroutineContext

fun interface FlowCollector<in T> {
    suspend fun emit(value: T)
}

interface Flow<out T> {
    suspend fun collect(collector: FlowCollector<T>)
}

fun <T> flow(block: suspend FlowCollector<T>.() -> Unit): Flow<T> = object : Flow<T> {
    override suspend fun collect(collector: FlowCollector<T>) = collector.block()
}

@Suppress("UNUSED_PARAMETER")
fun <T> Flow<T>.flowOn(context: CoroutineContext): Flow<T> = this
