from .initializers import Initializer as Initializer
from .mixing import MULTIPLIERS as MULTIPLIERS, buckets as buckets
from .parameters import checked as checked, known as known
from .tensorfile import decode as decode, encode as encode
