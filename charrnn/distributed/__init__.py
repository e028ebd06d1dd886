"""The job and the machine: what the launcher says, processes that agree, signals, cores and memory."""
