"""The pages of stock: what is low in which shop, what to do, an article's ledger, and photos of shelves; made for a phone too."""
