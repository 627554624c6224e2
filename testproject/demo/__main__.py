"""``python -m testproject.demo``: the demo below its private servers; `manage.py demo` starts it."""

from __future__ import annotations

import sys

import django

from testproject.demo.children import ChildDied
from testproject.demo.options import DemoOptions
from testproject.demo.stopping import STOPPED, stoppable
from testproject.parts.child import StartFailed


def main() -> int:
    """Run the demo; return its exit code."""
    django.setup()
    # It imports models, which wants the apps to be ready.
    from testproject.demo.story import tell

    options = DemoOptions.from_json(sys.argv[1])
    try:
        with stoppable():
            return 0 if tell(options) else 1
    except KeyboardInterrupt:
        return STOPPED if options.seconds is not None else 0
    except (ChildDied, StartFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
