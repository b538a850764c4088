import multiprocessing, tests.scenarios.test_migrate_crash as t
from tests.scenarios.test_migrate_crash import *
def test_y(tmp_path):
    out=open("/tmp/out2.txt","w")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.migrate_child"])
    with patient("hubspot-close", tmp_path / "calm") as (move, crmkit):
        apply(move); steps=crmkit.labels; settle(move); calm=ended(move)
    for number,points in ((0,[98,14,11]),(1,[98,14,11])):
        with patient("hubspot-close", tmp_path / str(number)) as (move, crmkit):
            if number==1: move.box[move.target].faults = FaultPlan("commit-late", number, 0.5)
            for at in points:
                crmkit.kill_at=at; done=apply(move); print("kill", at, done.code, crmkit.labels[-3:] if crmkit.labels else "", done.err[:300], file=out)
                move.box.clock.advance(SOON_SECONDS if number % 2 else WAIT_SECONDS)
            crmkit.kill_at=None; move.box[move.target].faults = FaultPlan()
            settle(move); e=ended(move)
            d=different(e, calm); print(number, list(d), file=out)
            if "notes" in d:
                a,b=d["notes"]; print("MORE", a-b, "\nLESS", b-a, file=out)
            print(len(steps), steps[90:100], file=out); out.flush()
