from .canvas import save as save
from .draw import draw_front as draw_front
from .draw import draw_training as draw_training
from .gallery import PICTURES as PICTURES
from .info import front_info as front_info
from .info import training_info as training_info
from .sensitivity import draw_sensitivity as draw_sensitivity
from .sensitivity import sensitivity_info as sensitivity_info
