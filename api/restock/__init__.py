"""What a shop is to do about its stock today, and what will run out."""
