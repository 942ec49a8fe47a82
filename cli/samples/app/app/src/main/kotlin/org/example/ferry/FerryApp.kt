package org.example.ferry

import org.example.ferry.analytics.Analytics

class FerryApp(private val analytics: Analytics) {
    fun onStart(coldStart: Boolean) {
        // The launch itself is counted by the store, not here.
        if (coldStart) warmUp()
    }

    private fun warmUp() = Unit
}
