"""From a forecast and what is on hand to what to order, and when it will run out. Rules are pure; a job applies them."""
