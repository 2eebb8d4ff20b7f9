"""What a frozen backbone knows."""
