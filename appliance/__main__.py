"""The way into the appliance: `python -m appliance` or the frozen binary."""

from multiprocessing import freeze_support

if __name__ == "__main__":
    freeze_support()

    from appliance.cli.main import main

    main()
