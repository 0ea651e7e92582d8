"""What a run says of itself: its page, its model card, its CLAIM sheet."""
