"""The network planner: what to buy and where to put it, with a proof of how good the answer is.

In: a folder of tables (tables, data; made ones: generate). Out: a plan, prices and a bound (result).

    tables, data           the columns of a problem; read, checked, written
    generate, places       made problems; from_sales: a problem from a sales table
    segments, spill        demand and prices -> slices of demand with a value each, at the site that serves them best
    problem                the one-period linear program in arrays; values any plan
    dual, solve, recover   prices by Newton on a smoothed dual; a bound; a plan that keeps every limit
    shard                  one device's share of the dual
    multiperiod…           several periods and layers: the program, its solution, where the next one starts, its proof
    program, mps           the same linear programs for any solver
    rounding               whole packs, smallest orders, fixed costs
    run, result, cli       from a problem to the tables of its answer; `inventorybot plan`
    simulate…, fulfilment  plans tried on orders; baselines: simple ways to plan; classical: textbook models
    planner, process, …    the service that plans on request and every night

Run: `inventorybot plan --help`. The mathematics: docs/planning.md, docs/adr/0006-planner-by-lagrangian-decomposition.md.
"""
