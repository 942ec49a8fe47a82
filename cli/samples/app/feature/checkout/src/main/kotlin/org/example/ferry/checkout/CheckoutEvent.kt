package org.example.ferry.checkout

enum class CheckoutEvent(val eventName: String) {
    OPENED("checkout screen opened"),
    PAYMENT_STARTED("checkout payment started"),
    PAYMENT_SUCCEEDED("checkout payment succeeded"),
    PAYMENT_FAILED("checkout payment failed"),
}
