from .decoder import Decoded as Decoded, Decoder as Decoder
from .making import make_decoder as make_decoder
from .options import DecoderOptions as DecoderOptions
