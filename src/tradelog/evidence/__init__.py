"""What a third party can check: the chain, each row against it, replays, bundles. Read only."""
