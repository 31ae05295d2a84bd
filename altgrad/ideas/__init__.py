"""Many ideas, one after another, and the truth about them: a ledger.

`screening` takes an idea on trial, cheaply; `reckoning` says which of the changes that were kept do
anything, on seeds that no one has used; `discovery` keeps false findings rare over all reckonings;
`noise` is what the ledger knows of its own noise. `ledger` is the file all of it is recomputed from.
"""
