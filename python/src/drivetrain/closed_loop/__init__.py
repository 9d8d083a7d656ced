"""nuPlan's closed-loop simulation: its traffic, its planners, its controller, frame by frame through a scenario."""
