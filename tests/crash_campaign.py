"""Kill a sync at every step and see that the next runs bring it to the same end.

`python -m tests.crash_campaign --points 200` kills runs over all five sandbox CRMs: first
syncs, runs of edits, runs of deletions. Each time later runs in new processes go on, and in
the end the CRM must hold exactly what it holds after runs that nobody disturbed: nothing
lost, nothing twice, no write left open. The killed run may also have sent calls that the CRM
carries out only later.
"""

if __name__ == "__main__":
    # Every child process imports this module again: nothing is imported before it is needed.
    import argparse
    import sys
    import time

    from tests.crash_histories import run, summary

    parser = argparse.ArgumentParser(prog="python -m tests.crash_campaign")
    parser.add_argument("--points", type=int, default=200, help="how many runs to kill")
    begun = time.monotonic()
    done = run(parser.parse_args().points)
    sys.stdout.write(summary(done, time.monotonic() - begun))
    sys.exit(1 if done.failures else 0)
