"""Whether a workspace is well: what may be wrong, how bad it is, and what puts it right.

The modules `gather*` ask the machine, the CRMs and the state store; every other module has one subject
and judges what was found: facts in, findings out, no calls and no clock.
"""
