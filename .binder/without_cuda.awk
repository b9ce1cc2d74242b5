# The locked packages but PyTorch and the CUDA libraries that its default wheel needs.
/^[A-Za-z0-9]/ { left_out = /^(torch|torchvision|triton|cuda-[^=]+|nvidia-[^=]+)==/ && !/^nvidia-ml-py==/ }
!left_out
