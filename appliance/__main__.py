"""The way into the appliance: `python -m appliance` or the frozen binary."""

import sys
from multiprocessing import freeze_support

if __name__ == "__main__":
    freeze_support()

    if sys.argv[1:2] == ["launch"]:
        # The frozen binary is its own launcher; see appliance/supervisor/launch.py.
        from appliance.supervisor.launch import main as launch

        launch(sys.argv[1:])

    from appliance.cli.main import main

    main()
