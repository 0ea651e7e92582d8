"""What the pages of sweeps, runs and audits share: templates, charts and thumbnails."""
