package org.example.ferry.checkout

import org.example.ferry.analytics.Analytics

class CheckoutComponent(private val analytics: Analytics) {
    fun show(sailingId: String, amount: Long) {
        analytics.track(CheckoutEvent.OPENED.eventName, mapOf("sailingId" to sailingId, "amount" to amount))
    }

    fun pay(method: String, amount: Long) {
        analytics.track(
            CheckoutEvent.PAYMENT_STARTED.eventName,
            mapOf("paymentMethod" to method, "amount" to amount),
        )
    }

    fun paid(orderId: String) {
        analytics.track(CheckoutEvent.PAYMENT_SUCCEEDED.eventName, mapOf("orderId" to orderId))
    }

    fun failed(reason: String) {
        analytics.track(CheckoutEvent.PAYMENT_FAILED.eventName, mapOf("reason" to reason))
    }

    fun applyCoupon(code: String) {
        analytics.track("checkout coupon applied", mapOf("couponCode" to code))
    }
}
