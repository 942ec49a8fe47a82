package org.example.ferry.search

import org.example.ferry.analytics.Analytics

class SearchViewModel(private val analytics: Analytics) {
    fun open() {
        analytics.track(SearchEvents.OPENED)
    }

    fun submit(from: String, to: String, passengers: Int) {
        analytics.track(
            SearchEvents.SUBMITTED,
            mapOf(
                "from" to from,
                "to" to to,
                "passengers" to passengers,
            ),
        )
    }

    fun pick(sailingId: String, position: Int) {
        analytics.track(SearchEvents.RESULT_CLICKED, mapOf("sailingId" to sailingId, "position" to position))
    }

    fun nothingFound(from: String, to: String) {
        analytics.track(SearchEvents.NO_RESULTS, mapOf("from" to from, "to" to to))
    }
}
