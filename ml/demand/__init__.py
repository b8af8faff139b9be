"""Demand forecasts: from any table of sales to a mean and quantiles for every store and item.

table.py        a file and its columns          cleaning.py     rows to a Panel; refused rows with reasons
periods.py      days, weeks, months             panel.py        series x periods, cut at any origin
features.py     what models see                 trees.py        LightGBM across all series
mlp.py          the MLP, and its transfer       statistical.py  each series from itself (statsforecast)
classical.py    six scikit-learn regressors     recursive.py    LightGBM as mlforecast uses it
search.py       grid and Bayesian search        transfer.py     what another business' MLP is worth
ensemble.py     which model for which segment   distribution.py quantiles from earlier errors (conformal)
forecaster.py   all of it: fit and forecast     release.py      a model folder and back
metrics.py      how good it is                  compare.py      all models in one table
hierarchy.py    coherent sums                   whatif.py       what a price would do
report.py       the HTML report                 output.py       forecast rows
lake_panel.py   the lake's days to a Panel      covariates.py   calendar, prices, weather beside it
lifecycle.py    train, score, forecast          spark.py        the same forecast on Spark, into Cassandra
drift.py        has demand, or the error, moved
cli.py, steps.py  inventorybot forecast, train demand, evaluate demand
"""
