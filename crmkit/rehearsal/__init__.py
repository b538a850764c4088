"""A migration tried out on twins: what two real CRMs consist of, drawn and made anonymous."""
