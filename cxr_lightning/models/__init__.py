"""Networks, losses, and the LightningModule that hosts them."""
