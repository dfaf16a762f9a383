"""How a release is made and tried: what is installed, the single file, and the Pythons that both run on."""
