"""What workflows come to, by topic; `form` says how they are written."""

from staterail.tests.journeys.scenarios.commands import COMMANDS
from staterail.tests.journeys.scenarios.failures import ATTEMPTS, FAILURES
from staterail.tests.journeys.scenarios.kinds import KINDS, PEOPLE
from staterail.tests.journeys.scenarios.routing import ROUTING

SCENARIOS = [*ROUTING, *FAILURES, *ATTEMPTS, *KINDS, *PEOPLE, *COMMANDS]
