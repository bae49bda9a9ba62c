-- How far trajectories get: per stage and check, applicable = pass + fail + undecided + error + pending
SELECT * FROM funnel
