"""From likelihoods to scores, jobs and events that people and programs subscribe to."""
