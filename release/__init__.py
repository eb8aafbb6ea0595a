"""What makes a release of this repository: one version, the chart, the image's contents, install.yaml, the notes."""
