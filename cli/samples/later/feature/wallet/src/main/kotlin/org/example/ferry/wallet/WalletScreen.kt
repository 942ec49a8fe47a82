package org.example.ferry.wallet

import org.example.ferry.analytics.Analytics

class WalletScreen(private val analytics: Analytics) {
    fun onShown(balance: Long) {
        analytics.track("wallet screen opened", mapOf("balance" to balance))
    }

    fun onTopUp(amount: Long, method: String) {
        analytics.track("wallet top up started", mapOf("amount" to amount, "paymentMethod" to method))
    }

    fun onToppedUp(orderId: String) {
        analytics.track("wallet top up succeeded", mapOf("orderId" to orderId))
    }
}
