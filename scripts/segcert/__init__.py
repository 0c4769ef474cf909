"""What the stages of the certification workflow share.

Modules that only plan, record or report (`settings`, `cells`, `statuses`, `record`, `stage`,
`conclusions`, ...) import neither Paddle nor PaddleSeg, so that a plan costs no start-up time.
"""

SCHEMA_VERSION = 1
