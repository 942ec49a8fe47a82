package org.example.ferry.search

object SearchEvents {
    const val OPENED = "search screen opened"
    const val SUBMITTED = "search submited"
    const val RESULT_CLICKED = "search result clicked"
    const val NO_RESULTS = "search no results shown"
}
