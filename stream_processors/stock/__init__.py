"""What is on hand: the ledger of stock, kept from movements and receipts."""
