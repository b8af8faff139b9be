"""Classical inventory models: one file a family, each answer a plain value, each formula with its source.

    eoq                  steady demand: order quantity; backorders, production rate, quantity discounts
    newsvendor           one season; base stock with backorders
    reorder_up_to        (s, S), periodic review with a fixed cost: exact, and the power approximation
    reorder_quantity     (r, Q), continuous review with lead time: exact for Poisson and normal, and approximations
    lost_sales           unmet demand is lost, with a lead time: the model and its policies
    lost_sales_chain     ... the exact cost of any policy; lost_sales_optimal: the best of all, with bounds
    lost_sales_search    ... the best base stock, capped base stock; simulation
    serial               stages in a line: Clark-Scarf
    guaranteed_service   where to put safety stock in a tree of stages
    one_warehouse        one warehouse, many retailers: power-of-two intervals
    demand               probabilities of demand, which the others take
    cli                  `inventorybot plan lost-sales`

Nothing is imported here: `from ml.planning.classical import eoq`. Which model for which question: docs/classical-models.md.
"""
