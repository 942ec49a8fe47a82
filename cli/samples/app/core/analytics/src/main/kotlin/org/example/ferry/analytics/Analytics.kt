package org.example.ferry.analytics

/** Every event of the app passes through here. Names are sent as they are. */
interface Analytics {
    fun track(name: String, properties: Map<String, Any?> = emptyMap())
}

class LoggingAnalytics(private val log: (String) -> Unit) : Analytics {
    override fun track(name: String, properties: Map<String, Any?>) {
        log("$name $properties")
    }
}
