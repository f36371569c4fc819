from .durations import Duration as Duration
from .instants import Instant as Instant, format_instant as format_instant, parse_instant as parse_instant
from .section import Section as Section
