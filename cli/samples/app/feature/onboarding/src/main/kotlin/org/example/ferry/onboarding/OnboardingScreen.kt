package org.example.ferry.onboarding

import org.example.ferry.analytics.Analytics

class OnboardingScreen(private val analytics: Analytics?) {
    fun onShown() {
        analytics?.track("onboarding screen opened")
    }

    fun onLanguagePicked(language: String) {
        analytics?.track("onboarding language selected", mapOf("language" to language))
    }

    fun onTutorialSkipped(page: Int) {
        analytics?.track("onboarding tutorial skipped", mapOf("page" to page))
    }

    fun onFinished() {
        analytics?.track("onboarding completed")
    }
}
