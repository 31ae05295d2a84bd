"""Many ideas, one after another, and the truth about them: a ledger.

`loop` is the ledger at work: `trial` takes an idea on trial, cheaply (`idea` and `admission` refuse
what is none), `reckoning` says which of the changes that were kept do anything, on seeds that no
one has used; `queue` works off many. Statistics, as pure functions: `screening`, `effects`,
`discovery` (false findings kept rare over all reckonings), `noise`. `ledger` is the file that all
of it is recomputed from, by `state`; `bench` makes the runs, `heldout` keeps tokens back, `table`,
`picture` and `page` show it, `terms` is what a ledger was begun with, `history` an earlier loop's
table.
"""
