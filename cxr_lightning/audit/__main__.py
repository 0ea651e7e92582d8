"""`python -m cxr_lightning.audit`."""

from cxr_lightning.audit.command import main

if __name__ == "__main__":
    main()
